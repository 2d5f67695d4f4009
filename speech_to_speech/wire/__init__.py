"""Wire protocols as pure functions: no sockets here."""
