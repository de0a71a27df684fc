//! Layout of the argument block that a generated function is called with: 64-bit words.
//!
//! The function uses the block up: at each row it advances the pointers and the row axis's counter.

use lazuli_kernel::Kernel;

/// Word numbers of the block's fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layout {
    rank: u32,
    params: u32,
    operands: u32,
}

/// Elements along the vector axis; at least 1.
pub const N: usize = 0;
/// Rows; at least 1.
pub const ROWS: usize = 1;
/// The axis that rows step along.
pub const ROW_AXIS: usize = 2;
const INDEX: u32 = 3;
/// Words of an operand: address, bytes between rows, bytes between elements along the vector axis, elements that
/// computed positions may touch.
pub const OPERAND_WORDS: u32 = 4;

impl Layout {
    pub fn of(kernel: &Kernel) -> Self {
        Self::new(kernel.rank as usize, kernel.params.len(), kernel.operands.len())
    }
    /// That of kernels with so many axes, parameters and operands.
    pub fn new(rank: usize, params: usize, operands: usize) -> Self {
        // One axis at least, so that the row axis's counter always exists.
        Self { rank: rank.max(1) as u32, params: params as u32, operands: operands as u32 }
    }
    pub fn index_word(&self, axis: u32) -> usize {
        (INDEX + axis) as usize
    }
    pub fn extent_word(&self, axis: u32) -> usize {
        (INDEX + self.rank + axis) as usize
    }
    pub fn param_word(&self, param: u32) -> usize {
        (INDEX + 2 * self.rank + param) as usize
    }
    pub fn operand_word(&self, operand: u32) -> usize {
        (INDEX + 2 * self.rank + self.params + OPERAND_WORDS * operand) as usize
    }
    pub fn words(&self) -> usize {
        self.operand_word(self.operands)
    }

    // Byte offsets of the same.
    pub fn index(&self, axis: u32) -> i32 {
        8 * self.index_word(axis) as i32
    }
    pub fn extent(&self, axis: u32) -> i32 {
        8 * self.extent_word(axis) as i32
    }
    pub fn param(&self, param: u32) -> i32 {
        8 * self.param_word(param) as i32
    }
    pub fn pointer(&self, operand: u32) -> i32 {
        8 * self.operand_word(operand) as i32
    }
    pub fn row_stride(&self, operand: u32) -> i32 {
        self.pointer(operand) + 8
    }
    pub fn stride(&self, operand: u32) -> i32 {
        self.pointer(operand) + 16
    }
    pub fn len(&self, operand: u32) -> i32 {
        self.pointer(operand) + 24
    }
}
