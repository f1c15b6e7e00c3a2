"""What passes through the gateway, kept: exchanges become turns of a conversation."""
