//! Plans as variants of each other.

use crate::backend::Variant;
use crate::hash::Map;
use crate::plan::Plan;
use crate::varying::{Origin, Varying};
use crate::verify::PlanWords;
use std::sync::Arc;

/// A plan, and how it differs from others.
#[derive(Debug, Clone)]
pub struct PlainVariant {
    varying: Arc<Varying>,
    values: Vec<i64>,
    plan: Plan,
}

impl Variant for PlainVariant {
    fn values(&self) -> Option<(&Arc<Varying>, &[i64])> {
        Some((&self.varying, &self.values))
    }
    fn plan(&mut self) -> &mut Plan {
        &mut self.plan
    }
}

/// Plans as variants of each other, if they have the same structure, parameters and donations. What is the same number in all is fixed, and what is alike in all is one value.
pub fn variants(plans: &[&Plan]) -> Option<Vec<PlainVariant>> {
    let words: Vec<PlanWords> = plans.iter().map(|plan| PlanWords::of(plan)).collect();
    let (first, rest) = words.split_first()?;
    let is_alike = |other: &PlanWords| first.has_structure_of(other) && first.params() == other.params();
    if !rest.iter().all(is_alike) || plans.iter().any(|plan| plan.donations != plans[0].donations) {
        return None;
    }
    let mut values: Vec<Vec<i64>> = vec![vec![]; plans.len()];
    let mut known: Map<Vec<i64>, u32> = Map::default();
    let mut origin = |place: usize| {
        let numbers: Vec<i64> = words.iter().map(|words| words.numbers()[place]).collect();
        if numbers.iter().all(|n| *n == numbers[0]) {
            return Origin::Fixed(numbers[0]);
        }
        Origin::Value(*known.entry(numbers).or_insert_with_key(|numbers| {
            values.iter_mut().zip(numbers).for_each(|(values, n)| values.push(*n));
            values[0].len() as u32 - 1
        }))
    };
    let numbers: Vec<Origin> = (0..first.numbers().len()).map(&mut origin).collect();
    let varying = Arc::new(Varying::with_numbers(numbers, values[0].len()));
    let variant =
        |(plan, values): (&&Plan, Vec<i64>)| PlainVariant { varying: varying.clone(), values, plan: (*plan).clone() };
    Some(plans.iter().zip(values).map(variant).collect())
}
