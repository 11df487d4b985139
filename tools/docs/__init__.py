"""What is made from the code: the JSON Schema, the man page, and parts of docs/."""
