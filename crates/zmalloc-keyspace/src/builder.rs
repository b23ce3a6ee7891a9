//! How a keyspace is made.

use crate::keyspace::{Clock, Keyspace, Made};
use crate::policy::Policy;
use crate::shard::{Settings, Shard};
use foldhash::quality::RandomState;
use std::fmt;
use std::time::{Duration, Instant};
use zmalloc_values::{Global, Memory, Thresholds};

/// The least that a keyspace may have, in bytes.
pub const MAX_MEMORY_MIN: usize = 1 << 20;
/// The hash has no more bits to tell shards apart.
const SHARDS_MAX: usize = 1 << 16;
/// The least that a shard may have by default, in bytes.
const SHARD_MIN: usize = 4 << 20;
/// Segments are as large as the shard has place for so many, within bounds.
const SEGMENTS: usize = 128;
const SEGMENT_BYTES_MIN: usize = 8 << 10;
const SEGMENT_BYTES_MAX: usize = 256 << 10;

/// Makes a [`Keyspace`].
pub struct Builder {
    max_memory: usize,
    policy: Policy,
    shards: Option<usize>,
    thresholds: Thresholds,
    clock: Clock,
    background: bool,
    #[cfg(feature = "zmalloc")]
    scope: Option<zmalloc::Scope>,
}

impl Default for Builder {
    fn default() -> Builder {
        Builder {
            max_memory: usize::MAX,
            policy: Policy::default(),
            shards: None,
            thresholds: Thresholds::DEFAULT,
            clock: Clock::System(Instant::now()),
            background: false,
            #[cfg(feature = "zmalloc")]
            scope: None,
        }
    }
}

impl Builder {
    /// What it may have, in bytes: all of its tables, segments and values, as the allocator charges them. At least
    /// [`MAX_MEMORY_MIN`]. Without it there is no bound.
    pub fn max_memory(mut self, bytes: usize) -> Builder {
        self.max_memory = bytes;
        self
    }

    /// Who has to go when there is no room. [`Policy::S3Fifo`] by default.
    pub fn policy(mut self, policy: Policy) -> Builder {
        self.policy = policy;
        self
    }

    /// How many parts it has, each with a lock of its own and an equal part of the memory. Rounded up to a power of two;
    /// by default four for each processor, but none of less than 4 MiB. Each can have 16 GiB of entries at most.
    pub fn shards(mut self, shards: usize) -> Builder {
        self.shards = Some(shards);
        self
    }

    /// From where on objects have which encoding.
    pub fn thresholds(mut self, thresholds: Thresholds) -> Builder {
        self.thresholds = thresholds;
        self
    }

    /// Tells the time, from whenever on: for simulations. Read with every write, and where a value has a deadline. It does not
    /// run backwards.
    pub fn clock(mut self, clock: impl Fn() -> Duration + Send + Sync + 'static) -> Builder {
        self.clock = Clock::Own(Box::new(clock));
        self
    }

    /// Has a thread take out what ends, within a tenth of a second, also where nobody writes; until the last handle of the
    /// keyspace is dropped. Without it each write does some of that in its shard, and
    /// [`maintain`](Keyspace::maintain) all.
    pub fn background(mut self, background: bool) -> Builder {
        self.background = background;
        self
    }

    /// The scope that it is counted in: each shard in one of its own within it.
    #[cfg(feature = "zmalloc")]
    pub fn scope(mut self, scope: zmalloc::Scope) -> Builder {
        self.scope = Some(scope);
        self
    }

    /// Makes it, over the global allocator.
    ///
    /// # Errors
    /// If it cannot be as it is wanted, or there is no memory for its tables.
    pub fn build(self) -> Result<Keyspace, BuildError> {
        self.build_in::<Global>()
    }

    /// Makes it, over this memory: over a [`Zmalloc`](https://docs.rs/zmalloc), what is used is exactly what that counts.
    ///
    /// # Errors
    /// As [`build`](Builder::build).
    pub fn build_in<M: Memory>(self) -> Result<Keyspace<M>, BuildError> {
        if self.max_memory < MAX_MEMORY_MIN {
            return Err(BuildError::MaxMemory { bytes: self.max_memory });
        }
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        let by_default = || (4 * processors).next_power_of_two().min((self.max_memory / SHARD_MIN).max(1));
        let shards = self.shards.unwrap_or_else(by_default);
        // Down where that was not asked for.
        let shards = if self.shards.is_some() {
            shards.clamp(1, 2 * SHARDS_MAX).next_power_of_two()
        } else {
            1 << shards.ilog2()
        };
        let limit = if self.max_memory == usize::MAX { usize::MAX } else { self.max_memory / shards };
        let part = (limit / SEGMENTS).clamp(SEGMENT_BYTES_MIN, SEGMENT_BYTES_MAX);
        let segment_bytes = 1usize << part.ilog2();
        if limit / segment_bytes < 16 || shards > SHARDS_MAX {
            return Err(BuildError::Shards {
                shards,
                most: (self.max_memory / (16 * SEGMENT_BYTES_MIN)).min(SHARDS_MAX),
            });
        }
        let hasher = RandomState::default();
        let mut made = Vec::new();
        for number in 0..shards {
            let settings = Settings {
                limit,
                segment_bytes,
                policy: self.policy,
                thresholds: self.thresholds,
                hasher: hasher.clone(),
            };
            made.push(self.make(number, settings)?);
        }
        Keyspace::from_parts(made, hasher, self.clock, self.max_memory, self.background)
    }

    #[cfg(feature = "zmalloc")]
    fn make<M: Memory>(&self, number: usize, settings: Settings) -> Result<Made<M>, BuildError> {
        let scope = self.scope.as_ref().map(|scope| scope.child(format!("shard {number}")));
        let made = {
            let _entered = scope.as_ref().map(zmalloc::Scope::enter);
            Shard::new(settings)
        };
        Ok((made.ok_or(BuildError::OutOfMemory)?, scope))
    }

    #[cfg(not(feature = "zmalloc"))]
    fn make<M: Memory>(&self, _: usize, settings: Settings) -> Result<Made<M>, BuildError> {
        Ok((Shard::new(settings).ok_or(BuildError::OutOfMemory)?,))
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = f.debug_struct("Builder");
        text.field("max_memory", &self.max_memory).field("policy", &self.policy);
        text.field("shards", &self.shards).finish_non_exhaustive()
    }
}

/// A keyspace cannot be as it is wanted.
#[derive(Debug)]
#[non_exhaustive]
pub enum BuildError {
    /// It may have too little.
    MaxMemory {
        /// So many bytes.
        bytes: usize,
    },
    /// Each shard would have too little.
    Shards {
        /// Of so many.
        shards: usize,
        /// At most so many are possible.
        most: usize,
    },
    /// So many bytes more are in use, of which none may go.
    InUse {
        /// More than it may have.
        bytes: usize,
    },
    /// There is no memory for its tables.
    OutOfMemory,
    /// There is no thread for the background.
    Background(std::io::Error),
}

impl fmt::Display for BuildError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BuildError::MaxMemory { bytes } => {
                write!(f, "max_memory of {bytes} bytes is too little: give it at least {MAX_MEMORY_MIN}")
            }
            BuildError::Shards { shards, most } => {
                write!(f, "{shards} shards are too many for max_memory: have at most {most}, or give it more")
            }
            BuildError::InUse { bytes } => {
                write!(f, "{bytes} bytes more than that are in use, and the policy lets nothing go: take keys out")
            }
            BuildError::OutOfMemory => f.write_str("there is no memory for the keyspace's tables"),
            BuildError::Background(error) => write!(f, "the background thread cannot be started: {error}"),
        }
    }
}

impl std::error::Error for BuildError {}
