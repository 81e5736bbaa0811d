//! Seeded data for tests.

use crate::hash::splitmix64;

pub(crate) struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Self(splitmix64(seed))
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(1);
        splitmix64(self.0)
    }

    pub fn below(&mut self, n: usize) -> usize {
        (self.next() % n as u64) as usize
    }

    pub fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 24) as f32
    }

    /// Nearly normal: the sum of twelve uniform numbers.
    pub fn normal(&mut self) -> f32 {
        (0..12).map(|_| self.unit()).sum::<f32>() - 6.0
    }
}

/// `n` vectors around `centers` centers, in clusters of different width, as real embeddings have.
pub(crate) fn clustered(seed: u64, n: usize, dim: usize, centers: usize) -> Vec<Vec<f32>> {
    let mut rng = Rng::new(seed);
    let middle: Vec<(Vec<f32>, f32)> =
        (0..centers).map(|_| ((0..dim).map(|_| rng.normal()).collect(), 0.3 + rng.unit())).collect();
    let point = |rng: &mut Rng| {
        let (center, width) = &middle[rng.below(centers)];
        center.iter().map(|c| c + width * rng.normal()).collect()
    };
    (0..n).map(|_| point(&mut rng)).collect()
}

pub(crate) fn normalized(mut v: Vec<f32>) -> Vec<f32> {
    let length = v.iter().map(|x| x * x).sum::<f32>().sqrt();
    v.iter_mut().for_each(|x| *x /= length);
    v
}
