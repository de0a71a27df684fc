//! What the numbers of plans of one structure have in common: a proof about one of them takes it for granted, and is one about others that have it too.

use crate::hash::Map;

/// What the numbers of all plans of one structure that were seen have in common: which are the same in all of them, and which others are equal in each.
#[derive(Debug)]
pub(super) struct Common {
    /// Those of a plan; of no account where they vary.
    numbers: Vec<i64>,
    /// [`Common::FIXED`] where there was the same number in all plans; else the same as where there were equal ones in each.
    classes: Vec<u32>,
    /// The places of each class.
    members: Vec<Vec<u32>>,
}

impl Common {
    pub const FIXED: u32 = u32::MAX;

    /// Those of the numbers of one plan.
    pub fn new(numbers: &[i64]) -> Self {
        let classes = vec![Self::FIXED; numbers.len()];
        Common { numbers: numbers.to_vec(), classes, members: vec![] }
    }

    /// The class of a place, [`Common::FIXED`] if its number is.
    #[inline]
    pub fn class(&self, place: usize) -> u32 {
        self.classes[place]
    }
    /// How many classes there are.
    pub fn varying(&self) -> usize {
        self.members.len()
    }

    /// Whether the numbers of a plan are as those of all that were seen: the same where they are fixed, equal within each class. One of each class, in place of `values`.
    pub fn fit(&mut self, numbers: &[i64], values: &mut Vec<i64>) -> bool {
        values.clear();
        // Compared at once, with what they should be.
        for members in &self.members {
            let value = numbers[members[0] as usize];
            members.iter().for_each(|&place| self.numbers[place as usize] = value);
            values.push(value);
        }
        self.numbers == numbers
    }

    /// Sees the numbers of one more plan.
    pub fn see(&mut self, numbers: &[i64]) {
        let mut known: Map<(u32, i64, i64), u32> = Map::default();
        self.members.clear();
        for (place, (&now, (class, was))) in (0..).zip(numbers.iter().zip(self.classes.iter_mut().zip(&self.numbers))) {
            let key = match *class {
                Self::FIXED if *was == now => continue,
                Self::FIXED => (Self::FIXED, *was, now),
                class => (class, 0, now),
            };
            *class = *known.entry(key).or_insert_with(|| {
                self.members.push(vec![]);
                self.members.len() as u32 - 1
            });
            self.members[*class as usize].push(place);
        }
    }
}
