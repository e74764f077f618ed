//! HTTP/1.1 as bytes: what a request looks like, and what an answer must look like to be believed.
//!
//! Pure: no sockets, no clock. [`request`] writes heads, [`head`] reads them strictly, [`body`] finds where an
//! answer ends. A client that keeps to these three cannot mistake one answer for another.

pub(super) mod body;
pub(crate) mod head;
pub(crate) mod request;

#[cfg(test)]
mod tests {
    //! How bytes are cut into packets, and what garbage they are, must not matter.

    use super::body::{Framing, Part};
    use super::head::{Head, HeadReader};
    use bytes::BytesMut;
    use proptest::prelude::*;

    /// Everything that was understood of one answer, in a form that does not show how it was cut.
    #[derive(Debug, Default, PartialEq)]
    struct Understood {
        head: Option<Head>,
        body: Vec<u8>,
        ended: bool,
        refused: Option<String>,
    }

    fn understand(pieces: impl Iterator<Item = Vec<u8>>) -> Understood {
        let (mut input, mut reader, mut seen) =
            (BytesMut::new(), HeadReader::default(), Understood::default());
        let mut framing: Option<Framing> = None;
        for piece in pieces {
            input.extend_from_slice(&piece);
            if framing.is_none() {
                match reader.read(&mut input) {
                    Ok(head) => {
                        framing = head.as_ref().map(|head| head.framing.clone());
                        seen.head = head;
                    }
                    Err(error) => seen.refused = Some(error.to_string()),
                }
            }
            while let (Some(framing), None, false) = (&mut framing, &seen.refused, seen.ended) {
                match framing.decode(&mut input) {
                    Ok(Part::Data(data)) => seen.body.extend_from_slice(&data),
                    Ok(Part::Starved) => break,
                    Ok(Part::End) => seen.ended = true,
                    Err(error) => seen.refused = Some(error.to_string()),
                }
            }
            if seen.refused.is_some() {
                break;
            }
        }
        seen
    }

    fn fragments() -> impl Strategy<Value = Vec<u8>> {
        let fragment = prop_oneof![
            Just("HTTP/1.1 200 OK\r\n".to_owned()),
            Just("HTTP/1.0 500 No\r\n".to_owned()),
            Just("HTTP/1.1 103 Early\r\n\r\n".to_owned()),
            Just("\r\n".to_owned()),
            Just("\n".to_owned()),
            Just("Transfer-Encoding: chunked\r\n".to_owned()),
            Just("Retry-After: 7\r\n".to_owned()),
            Just("0\r\n\r\n".to_owned()),
            Just("3\r\nabc\r\n".to_owned()),
            Just("A;x=y\r\n0123456789\r\n".to_owned()),
            (0_u8..20).prop_map(|length| format!("Content-Length: {length}\r\n")),
            "[ -~]{0,8}",
            any::<char>().prop_map(String::from),
        ];
        let start = prop_oneof![4 => Just("HTTP/1.1 200 OK\r\n".to_owned()), 1 => Just(String::new())];
        (start, prop::collection::vec(fragment, 0..12))
            .prop_map(|(start, rest)| (start + &rest.concat()).into_bytes())
    }

    proptest! {
        #[test]
        fn an_answer_is_understood_the_same_however_it_is_cut(bytes in fragments(), size in 1_usize..9) {
            let whole = understand(std::iter::once(bytes.clone()));
            let cut = understand(bytes.chunks(size).map(<[u8]>::to_vec));
            prop_assert_eq!(whole, cut);
        }

        #[test]
        fn no_bytes_are_too_strange(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            understand(std::iter::once(bytes.clone()));
            understand(std::iter::once([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", &bytes[..]].concat()));
        }
    }
}
