//! The rules, as sentences about the product.

mod dead_letters;
mod operators;
mod order;
mod parts;
mod recovery;
mod retries;
mod rotation;
mod steps;
mod versions;
