//! Vectors that behave like real ones, and the arithmetic of recall.
