"""The gRPC half: messages as bytes through generic calls, so that answers compare byte for byte, and the vectors."""
