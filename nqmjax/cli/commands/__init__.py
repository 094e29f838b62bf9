"""The commands, one in each file: its options, its help and what it does. Each is imported when it is called."""
