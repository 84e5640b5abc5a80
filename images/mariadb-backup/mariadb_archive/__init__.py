"""Physical backups and the log of changes of a MariaDB server, encrypted in a Blob container; back to any moment."""
