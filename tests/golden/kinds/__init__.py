"""One function per kind of golden file: `kind -> compare everything in the file`."""
