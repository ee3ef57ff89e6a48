//! Owns the examples, benches and end-to-end tests of the CRM.
