"""The platform around the services: today the local process supervisor (`mesh.local`)."""
