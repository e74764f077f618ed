//! Read models against the in-memory log: every answer, whatever order facts come in and however often it stops.

mod answers;
mod lifecycle;
mod rate;
mod support;
