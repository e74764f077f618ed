//! The rules, as sentences about the product.

mod order;
