"""What people and programs touch: HTTP API, command line, client, embedded servers, simulator."""
