//! Folding: the form of a text in which case and accents make no difference.
