"""The only sockets to providers, behind one small port."""
