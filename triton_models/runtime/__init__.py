"""What runs inside Triton's Python backend: the models' logic, importable and testable without Triton."""
