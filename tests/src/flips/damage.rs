//! What can be done to a file.

/// What disks write and lose at a time.
const BLOCK_BYTES: usize = 4096;
/// Every length of a file below this is tried, and of a larger one those around the ends of blocks.
const SMALL_BYTES: usize = 4096;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// All bits of a byte.
    Inverted {
        at: usize,
    },
    Bit {
        at: usize,
        bit: u8,
    },
    /// A block that was never written.
    Zeroed {
        block: usize,
    },
    /// Blocks that were written in each other's place.
    Swapped {
        one: usize,
        other: usize,
    },
    Cut {
        bytes: usize,
    },
    Extended {
        bytes: usize,
    },
    Deleted,
}

/// xorshift: the same seed gives the same run.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

/// Every byte inverted and with one bit flipped, every block zeroed and swapped with the next and with another, every
/// length class, and the file gone.
pub fn of_every_kind(bytes: usize, random: &mut Random) -> Vec<Damage> {
    let mut damages = vec![Damage::Deleted];
    damages.extend([1, BLOCK_BYTES].map(|bytes| Damage::Extended { bytes }));
    for at in 0..bytes {
        damages.push(Damage::Inverted { at });
        damages.push(Damage::Bit { at, bit: random.below(8) as u8 });
    }
    let blocks = bytes.div_ceil(BLOCK_BYTES);
    for block in 0..blocks {
        damages.push(Damage::Zeroed { block });
        if blocks > 1 {
            damages.push(Damage::Swapped { one: block, other: (block + 1) % blocks });
            damages.push(Damage::Swapped { one: block, other: random.below(blocks) });
        }
    }
    let ends = (0..blocks).flat_map(|block| [1, 0, -1].map(|off| (block * BLOCK_BYTES) as isize - off));
    let cuts: Vec<usize> = match bytes <= SMALL_BYTES {
        true => (0..bytes).collect(),
        false => ends.filter(|cut| (0..bytes as isize).contains(cut)).map(|cut| cut as usize).collect(),
    };
    damages.extend(cuts.into_iter().map(|bytes| Damage::Cut { bytes }));
    damages
}

impl Damage {
    /// The new bytes and where they are, if the file stays as long as it is.
    pub fn changes(&self, file: &[u8]) -> Option<Vec<(usize, Vec<u8>)>> {
        let block = |number: usize| {
            let start = number * BLOCK_BYTES;
            (start, &file[start..file.len().min(start + BLOCK_BYTES)])
        };
        match *self {
            Damage::Inverted { at } => Some(vec![(at, vec![!file[at]])]),
            Damage::Bit { at, bit } => Some(vec![(at, vec![file[at] ^ (1 << bit)])]),
            Damage::Zeroed { block: number } => {
                let (at, bytes) = block(number);
                Some(vec![(at, vec![0; bytes.len()])])
            }
            Damage::Swapped { one, other } => {
                let ((one, left), (other, right)) = (block(one), block(other));
                let bytes = left.len().min(right.len());
                Some(vec![(one, right[..bytes].to_vec()), (other, left[..bytes].to_vec())])
            }
            Damage::Cut { .. } | Damage::Extended { .. } | Damage::Deleted => None,
        }
    }

    /// The whole file, if it is as long as before no more; none if it is gone.
    pub fn replace(&self, file: &[u8]) -> Option<Vec<u8>> {
        match *self {
            Damage::Cut { bytes } => Some(file[..bytes].to_vec()),
            Damage::Extended { bytes } => Some([file, &vec![0xa5; bytes]].concat()),
            _ => None,
        }
    }
}
