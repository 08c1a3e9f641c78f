//! Jobs as closed values: specs, manifests, digests, fences and logical paths.
