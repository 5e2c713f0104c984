"""Tests of the gateway's port for gRPC, with grpcio on both sides of it."""
