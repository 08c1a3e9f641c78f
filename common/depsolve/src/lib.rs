//! Universes, gather, repoclosure and why, on interned ids.
