//! Package records, repository metadata reading and writing.
