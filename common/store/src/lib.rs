//! The state store: etcd's semantics over redb and memory.
