"""The server: uploads, a queue of analyses, the gate before them, REST, and all of it together."""
