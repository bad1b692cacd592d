"""What Triton is compared with: the same engines, alone in a process of their own."""
