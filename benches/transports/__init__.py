"""Messages a second through a channel: the bare client, our transport, `Router.dispatch`, and FastStream."""
