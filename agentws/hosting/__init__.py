"""How a gateway lives in an application and a server that are not its own."""
