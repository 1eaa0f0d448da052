//! Data frames, as they are sent over sockets.

use std::io::{self, ErrorKind};

/// The length of a frame in bytes.
pub const FRAME: usize = 64;

/// One data frame: station, sequence number, payload, check sum.
#[derive(Clone, Copy, Debug)]
pub struct Frame([u8; FRAME]);

impl Frame {
    /// Returns the frame `seq` for `station`; the payload follows from both.
    pub fn new(station: u32, seq: u64) -> Self {
        let mut bytes = [0; FRAME];
        bytes[..4].copy_from_slice(&station.to_le_bytes());
        bytes[4..12].copy_from_slice(&seq.to_le_bytes());
        let mut word = seq ^ u64::from(station) << 32;
        for chunk in bytes[12..56].chunks_mut(8) {
            word = word.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(29) ^ seq;
            chunk.copy_from_slice(&word.to_le_bytes()[..chunk.len()]);
        }
        let sum = check_sum(&bytes[..56]);
        bytes[56..].copy_from_slice(&sum.to_le_bytes());
        Self(bytes)
    }

    /// Parses these bytes, or returns an error if they are damaged.
    pub fn parse(bytes: [u8; FRAME]) -> io::Result<Self> {
        let frame = Self(bytes);
        if frame.is_whole() {
            Ok(frame)
        } else {
            Err(io::Error::new(ErrorKind::InvalidData, "damaged frame"))
        }
    }

    /// Returns whether the check sum matches the rest.
    pub fn is_whole(&self) -> bool {
        check_sum(&self.0[..56]).to_le_bytes() == self.0[56..]
    }

    /// Returns the station that the frame is for.
    pub fn station(&self) -> u32 {
        u32::from_le_bytes(self.0[..4].try_into().expect("four bytes"))
    }

    /// Returns its position in the station's stream, from 0.
    pub fn seq(&self) -> u64 {
        u64::from_le_bytes(self.0[4..12].try_into().expect("eight bytes"))
    }

    /// Returns the bytes as they are sent over a socket.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// FNV-1a, eight bytes at a time.
fn check_sum(bytes: &[u8]) -> u64 {
    bytes.chunks_exact(8).fold(0xcbf2_9ce4_8422_2325, |sum, chunk| {
        let word = u64::from_le_bytes(chunk.try_into().expect("eight bytes"));
        (sum ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_carry_station_and_seq() {
        let frame = Frame::new(7, 1 << 40);
        let copy = Frame::parse(frame.0).unwrap();
        assert_eq!((copy.station(), copy.seq()), (7, 1 << 40));
    }

    #[test]
    fn one_wrong_bit_is_noticed() {
        for bit in 0..FRAME * 8 {
            let mut bytes = Frame::new(3, 9).0;
            bytes[bit / 8] ^= 1 << (bit % 8);
            assert!(Frame::parse(bytes).is_err(), "bit {bit}");
        }
    }
}
