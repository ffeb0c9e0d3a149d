"""Scripts that make data files of the project; nothing here is installed or run by users."""
