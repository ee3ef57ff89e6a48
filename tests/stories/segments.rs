//! Segments: customers described by rules, counted, listed, explained, frozen.

mod everyday;
mod frozen;
mod orders;
mod same_people;
