//! HTTP/1.1 as bytes: what a request looks like, and what an answer must look like to be believed.
//!
//! Pure: no sockets, no clock. [`request`] writes heads, [`head`] reads them strictly, [`body`] finds where an
//! answer ends. A client that keeps to these three cannot mistake one answer for another.

pub(super) mod body;
pub(super) mod head;
pub(super) mod request;
