"""The session service: people's conversations and their messages, kept in PostgreSQL."""
