//! Takes an input apart, and puts seeds together in the same form.

/// What is left of an input. Asked for more than there is, it gives what there is.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a>(&'a [u8]);

impl<'a> Input<'a> {
    /// All of an input.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// One byte; 0 at the end.
    pub fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((byte, rest)) => {
                self.0 = rest;
                *byte
            }
            None => 0,
        }
    }

    /// A number of four bytes.
    pub fn number(&mut self) -> u32 {
        u32::from_be_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    /// A piece behind its length of two bytes.
    pub fn piece(&mut self) -> &'a [u8] {
        let len = usize::from(u16::from_be_bytes([self.byte(), self.byte()]));
        let (piece, rest) = self.0.split_at(len.min(self.0.len()));
        self.0 = rest;
        piece
    }

    /// Pieces up to the end, no more than `limit`.
    pub fn pieces(mut self, limit: usize) -> Vec<&'a [u8]> {
        let mut pieces = Vec::new();
        while !self.0.is_empty() && pieces.len() < limit {
            pieces.push(self.piece());
        }
        pieces
    }

    /// The rest.
    pub fn rest(self) -> &'a [u8] {
        self.0
    }

    /// The rest as text, if it is text.
    pub fn text(self) -> Option<&'a str> {
        std::str::from_utf8(self.0).ok()
    }
}

/// `first`, then each piece behind its length.
pub fn join<P: AsRef<[u8]>>(first: &[u8], pieces: impl IntoIterator<Item = P>) -> Vec<u8> {
    let mut bytes = first.to_vec();
    for piece in pieces {
        let piece = piece.as_ref();
        let len = u16::try_from(piece.len()).expect("seeds are short");
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(piece);
    }
    bytes
}

/// `first`, then the rest as it is.
pub fn plain(first: &[u8], rest: impl AsRef<[u8]>) -> Vec<u8> {
    [first, rest.as_ref()].concat()
}
