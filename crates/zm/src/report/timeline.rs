//! What all processes of a run held together, over its time.

use serde::Serialize;

/// The samples of a run. However long it is, they are few: when there are too many, of each two the larger stays.
#[derive(Debug, Serialize)]
pub struct Timeline {
    pub interval_seconds: f64,
    pub samples: Vec<Sample>,
}

/// One moment.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Sample {
    pub seconds: f64,
    pub processes: u64,
    pub used_bytes: u64,
    pub mapped_bytes: u64,
    pub rss_bytes: u64,
}

const SAMPLES: usize = 4096;
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

impl Timeline {
    pub fn new(interval_seconds: f64) -> Timeline {
        Timeline { interval_seconds, samples: Vec::new() }
    }

    pub fn push(&mut self, sample: Sample) {
        self.samples.push(sample);
        if self.samples.len() == SAMPLES {
            self.samples = thinned(&self.samples, SAMPLES / 2);
            self.interval_seconds *= 2.0;
        }
    }

    /// The live bytes as a row of bars of at most this width, each the most of its part.
    pub fn sparkline(&self, width: usize) -> String {
        let samples = thinned(&self.samples, width.max(1));
        let most = samples.iter().map(|sample| sample.used_bytes).max().unwrap_or(0).max(1);
        let bar = |sample: &Sample| {
            let height = u128::from(sample.used_bytes) * BARS.len() as u128 / u128::from(most);
            BARS[(height as usize).min(BARS.len() - 1)]
        };
        samples.iter().map(bar).collect()
    }

    /// The sample with the most live bytes.
    pub fn most(&self) -> Option<&Sample> {
        self.samples.iter().max_by_key(|sample| sample.used_bytes)
    }
}

/// At most `most` samples, each the largest of its part.
fn thinned(samples: &[Sample], most: usize) -> Vec<Sample> {
    let part = samples.len().div_ceil(most).max(1);
    let largest = |part: &[Sample]| part.iter().copied().max_by_key(|sample| sample.used_bytes);
    samples.chunks(part).filter_map(largest).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(seconds: f64, used_bytes: u64) -> Sample {
        Sample { seconds, processes: 1, used_bytes, mapped_bytes: 0, rss_bytes: 0 }
    }

    #[test]
    fn a_long_run_keeps_few_samples_and_its_peak() {
        let mut timeline = Timeline::new(0.1);
        for index in 0..100_000u64 {
            timeline.push(sample(index as f64 / 10.0, if index == 77_777 { 1 << 40 } else { index }));
        }
        assert!(timeline.samples.len() < SAMPLES && timeline.samples.len() > SAMPLES / 4);
        assert_eq!(timeline.most(), Some(&sample(7777.7, 1 << 40)));
        assert!(timeline.samples.is_sorted_by(|a, b| a.seconds < b.seconds));
        assert!(timeline.interval_seconds > 1.0);
        assert_eq!(timeline.sparkline(60).chars().filter(|&bar| bar == '█').count(), 1);
    }

    #[test]
    fn bars_are_as_high_as_their_part_of_the_most() {
        let mut timeline = Timeline::new(1.0);
        assert_eq!((timeline.sparkline(9).as_str(), timeline.most()), ("", None));
        [0, 25, 50, 100, u64::MAX, 0].iter().for_each(|&used| timeline.push(sample(0.0, used)));
        assert_eq!(timeline.sparkline(6), "▁▁▁▁█▁");
        timeline.samples.remove(4);
        assert_eq!(timeline.sparkline(80), "▁▃▅█▁");
        assert_eq!(timeline.sparkline(2), "▅█");
    }
}
