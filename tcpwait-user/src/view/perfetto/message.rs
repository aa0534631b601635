//! A protobuf message that is being written: fields by their numbers. Only what a Perfetto trace needs.

/// The kinds of fields on the wire.
const VARINT: u64 = 0;
const LENGTH: u64 = 2;

/// A message.
#[derive(Debug, Default)]
pub struct ProtoMessage(Vec<u8>);

impl ProtoMessage {
    /// A number; also an enum or a bool.
    pub fn number(&mut self, field: u64, value: u64) -> &mut Self {
        self.varint(field << 3 | VARINT);
        self.varint(value);
        self
    }

    /// A signed number, as int32 and int64 have it.
    pub fn signed(&mut self, field: u64, value: i64) -> &mut Self {
        self.number(field, value.cast_unsigned())
    }

    /// A text.
    pub fn text(&mut self, field: u64, text: &str) -> &mut Self {
        self.varint(field << 3 | LENGTH);
        self.varint(text.len() as u64);
        self.0.extend_from_slice(text.as_bytes());
        self
    }

    /// A message within.
    pub fn message(&mut self, field: u64, write: impl FnOnce(&mut Self)) -> &mut Self {
        self.varint(field << 3 | LENGTH);
        let begin = self.0.len();
        write(self);
        let len = self.0.len() - begin;
        // Its length stands before it, and is known now. Messages are short.
        let end = self.0.len();
        self.varint(len as u64);
        let width = self.0.len() - end;
        if let Some(moved) = self.0.get_mut(begin..) {
            moved.rotate_right(width);
        }
        self
    }

    /// Begins anew.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// As it is written.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }

    /// Seven bits a byte, the lowest first.
    fn varint(&mut self, mut value: u64) {
        while value >= 0x80 {
            self.0.push(value as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

#[cfg(test)]
mod tests {
    use super::ProtoMessage;

    /// The examples of protobuf's documentation of its encoding.
    #[test]
    fn as_documented() {
        let mut message = ProtoMessage::default();
        message.number(1, 150);
        assert_eq!(message.bytes(), [0x08, 0x96, 0x01]);
        message.clear();
        message.text(2, "testing");
        assert_eq!(message.bytes(), b"\x12\x07testing");
        message.clear();
        message.message(3, |inner| {
            inner.number(1, 150);
        });
        assert_eq!(message.bytes(), [0x1a, 0x03, 0x08, 0x96, 0x01]);
        message.clear();
        message.signed(1, -2);
        assert_eq!(message.bytes(), [0x08, 0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]);
    }

    #[test]
    fn a_length_of_two_bytes() {
        let mut message = ProtoMessage::default();
        let long = "x".repeat(300);
        message.message(1, |inner| {
            inner.text(2, &long);
        });
        let expected = [&[0x0a, 0xaf, 0x02, 0x12, 0xac, 0x02], long.as_bytes()].concat();
        assert_eq!(message.bytes(), expected);
    }
}
