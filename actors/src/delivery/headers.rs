//! The headers of a request, in one piece of memory: as they stand on the wire, and where each begins and ends.

/// Names and values in the order and spelling in which they are sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    /// `name: value\r\n`, one after the other.
    wire: String,
    /// Where each name and each value ends in it; a value begins behind `: `, and the next name behind `\r\n`.
    ends: Vec<(usize, usize)>,
}

const BETWEEN: &str = ": ";
const BEHIND: &str = "\r\n";

impl Headers {
    /// None yet, with room for so many, and for so many bytes of names and values.
    #[must_use]
    pub fn with_capacity(count: usize, bytes: usize) -> Self {
        let between = count * (BETWEEN.len() + BEHIND.len());
        Self { wire: String::with_capacity(bytes + between), ends: Vec::with_capacity(count) }
    }

    /// Adds a header behind the others.
    pub fn push(&mut self, name: &str, value: &str) {
        self.push_with(name, |out| out.push_str(value));
    }

    /// Adds a header whose value `write` appends to what it is given.
    pub fn push_with(&mut self, name: &str, write: impl FnOnce(&mut String)) {
        self.wire.push_str(name);
        let name_end = self.wire.len();
        self.wire.push_str(BETWEEN);
        write(&mut self.wire);
        self.ends.push((name_end, self.wire.len()));
        self.wire.push_str(BEHIND);
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut start = 0;
        self.ends.iter().map(move |&(name_end, value_end)| {
            let name = &self.wire[start..name_end];
            start = value_end + BEHIND.len();
            (name, &self.wire[name_end + BETWEEN.len()..value_end])
        })
    }

    /// The value of the header at `place`.
    #[must_use]
    pub fn value_at(&self, place: usize) -> Option<&str> {
        let &(name_end, value_end) = self.ends.get(place)?;
        Some(&self.wire[name_end + BETWEEN.len()..value_end])
    }

    /// Whether there is one of this name, in whatever case.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.iter().any(|(other, _)| other.eq_ignore_ascii_case(name))
    }

    /// All of them as they are sent, each with its line end. Whoever sends them looks at each name and value before.
    #[must_use]
    pub fn wire(&self) -> &str {
        &self.wire
    }
}

impl<N: AsRef<str>, V: AsRef<str>> FromIterator<(N, V)> for Headers {
    fn from_iter<T: IntoIterator<Item = (N, V)>>(headers: T) -> Self {
        let mut all = Self::default();
        headers.into_iter().for_each(|(name, value)| all.push(name.as_ref(), value.as_ref()));
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_values_come_out_as_they_went_in() {
        let given = [("X-A", "1"), ("x-empty", ""), ("X-Colon", "a: b\r\nX-Forged: c"), ("X-A", "2")];
        let headers = Headers::from_iter(given);
        assert_eq!(headers.iter().collect::<Vec<_>>(), given);
        assert_eq!(headers.value_at(1), Some(""));
        assert_eq!(headers.value_at(3), Some("2"));
        assert_eq!(headers.value_at(4), None);
        assert!(headers.has("x-a") && !headers.has("X-Forged"));
        assert_eq!(headers.len(), 4);
        assert!(Headers::default().is_empty());
        assert_eq!(Headers::from_iter([given[0], given[1]]).wire(), "X-A: 1\r\nx-empty: \r\n");
    }
}
