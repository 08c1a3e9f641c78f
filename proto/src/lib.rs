//! Generated protobuf and gRPC types.
