//! The best hits of a query.

use super::hit::Hit;
use std::cmp::Ordering;
use std::collections::BinaryHeap;

/// At most so many hits, the best that were offered.
#[derive(Clone)]
pub(super) struct Top {
    count: usize,
    /// The worst of them on top.
    hits: BinaryHeap<Worst>,
    /// What a hit has to reach.
    least: f32,
}

/// Orders hits by how bad they are: a lower score, or a later place.
#[derive(Clone, Copy)]
struct Worst(Hit);

impl Ord for Worst {
    fn cmp(&self, other: &Worst) -> Ordering {
        let (a, b) = (&self.0, &other.0);
        b.score.total_cmp(&a.score).then_with(|| (a.file, a.row).cmp(&(b.file, b.row)))
    }
}

impl PartialOrd for Worst {
    fn partial_cmp(&self, other: &Worst) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Worst {
    fn eq(&self, other: &Worst) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Worst {}

impl Top {
    pub(super) fn new(count: usize) -> Top {
        Top { count, hits: BinaryHeap::new(), least: f32::NEG_INFINITY }
    }

    /// Takes a hit in, if it is among the best.
    #[inline]
    pub(super) fn offer(&mut self, hit: Hit) {
        if hit.score >= self.least {
            self.take(hit);
        }
    }

    fn take(&mut self, hit: Hit) {
        self.hits.push(Worst(hit));
        if self.hits.len() > self.count {
            self.hits.pop();
        }
        if self.hits.len() == self.count {
            self.least = self.hits.peek().map_or(f32::INFINITY, |worst| worst.0.score);
        }
    }

    pub(super) fn join(&mut self, other: Top) {
        other.hits.into_iter().for_each(|worst| self.offer(worst.0));
    }

    pub(super) fn best_first(self) -> Vec<Hit> {
        self.hits.into_sorted_vec().into_iter().map(|worst| worst.0).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_are_kept_and_of_equal_ones_the_first() {
        let scores = [0.1, 0.7, 0.3, 0.7, -0.2, 0.7, 0.9];
        let hit = |row: usize| Hit { score: scores[row], file: 0, row: row as u64 };
        for order in [[0, 1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1, 0], [3, 6, 0, 5, 2, 1, 4]] {
            for split in 0..7 {
                let mut tops = [Top::new(3), Top::new(3)];
                order.iter().enumerate().for_each(|(i, row)| tops[usize::from(i >= split)].offer(hit(*row)));
                let [mut one, other] = tops;
                one.join(other);
                let rows: Vec<u64> = one.best_first().iter().map(|hit| hit.row).collect();
                assert_eq!(rows, [6, 1, 3]);
            }
        }
        let mut none = Top::new(0);
        none.offer(hit(0));
        assert!(none.best_first().is_empty());
    }
}
