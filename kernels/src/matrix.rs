//! Views of row-major matrices whose rows may lie further apart than they are long.

use std::marker::PhantomData;
use std::ops::Range;

/// A shared view of `[rows, columns]` f32 values; row `i` starts at `i * stride`.
#[derive(Clone, Copy)]
pub struct Matrix<'a> {
    data: &'a [f32],
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<'a> Matrix<'a> {
    /// A view of the first `columns` values of each of `rows` rows, `stride` values apart.
    ///
    /// # Panics
    /// If the last row ends beyond `data`, or rows overlap (`stride < columns`).
    #[inline]
    pub fn new(data: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        check_extent(data.len(), rows, columns, stride);
        Matrix { data, rows, columns, stride }
    }

    /// Number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[inline]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Distance between the starts of two rows, in values.
    #[inline]
    pub fn stride(&self) -> usize {
        self.stride
    }

    /// Row `row`, `columns` values long.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    pub fn row(&self, row: usize) -> &'a [f32] {
        assert!(row < self.rows);
        &self.data[row * self.stride..][..self.columns]
    }

    /// The first `columns` values of row `row`, unchecked.
    ///
    /// # Safety
    /// The view must have that row, and so many columns.
    #[inline(always)]
    pub(crate) unsafe fn row_unchecked(&self, row: usize, columns: usize) -> &'a [f32] {
        debug_assert!(row < self.rows && columns <= self.columns);
        // SAFETY: as the caller says; `new` found all rows to lie within `data`.
        unsafe { self.data.get_unchecked(row * self.stride..row * self.stride + columns) }
    }

    /// Rows `first..first + count`.
    ///
    /// # Panics
    /// If they are not all there.
    #[inline(always)]
    pub fn row_range(&self, first: usize, count: usize) -> Matrix<'a> {
        assert!(first + count <= self.rows);
        let data = if count == 0 { &[] } else { &self.data[first * self.stride..] };
        Matrix::new(data, count, self.columns, self.stride)
    }

    /// Columns `first..first + count` of all rows.
    ///
    /// # Panics
    /// If they are not all there.
    #[inline]
    pub fn column_range(&self, first: usize, count: usize) -> Matrix<'a> {
        assert!(first + count <= self.columns);
        let data = if self.rows == 0 { &[] } else { &self.data[first..] };
        Matrix::new(data, self.rows, count, self.stride)
    }
}

/// An exclusive view of `[rows, columns]` f32 values, which can be split between threads by rows
/// or by columns.
pub struct MatrixMut<'a> {
    data: *mut f32,
    rows: usize,
    columns: usize,
    stride: usize,
    borrow: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `MatrixMut` is an exclusive borrow of its elements, as `&mut [f32]` is, and f32 is
// Send and Sync.
unsafe impl Send for MatrixMut<'_> {}
// SAFETY: as above; nothing can be written through a shared reference to it.
unsafe impl Sync for MatrixMut<'_> {}

impl<'a> MatrixMut<'a> {
    /// A view of the first `columns` values of each of `rows` rows, `stride` values apart.
    ///
    /// # Panics
    /// If the last row ends beyond `data`, or rows overlap (`stride < columns`).
    #[inline]
    pub fn new(data: &'a mut [f32], rows: usize, columns: usize, stride: usize) -> Self {
        check_extent(data.len(), rows, columns, stride);
        MatrixMut { data: data.as_mut_ptr(), rows, columns, stride, borrow: PhantomData }
    }

    /// Number of rows.
    #[inline]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[inline]
    pub fn columns(&self) -> usize {
        self.columns
    }

    /// Row `row`, `columns` values long.
    ///
    /// # Panics
    /// If there is no such row.
    #[inline]
    pub fn row_mut(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows);
        // SAFETY: `new` checked that row `row` lies within the borrowed slice; splits keep
        // views disjoint, so this view alone reaches these elements, and `&mut self` keeps a
        // second row from being borrowed at the same time.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(row * self.stride), self.columns) }
    }

    /// The first `columns` values of row `row`, unchecked.
    ///
    /// # Safety
    /// The view must have that row, and so many columns.
    #[inline(always)]
    pub(crate) unsafe fn row_unchecked(&mut self, row: usize, columns: usize) -> &mut [f32] {
        debug_assert!(row < self.rows && columns <= self.columns);
        // SAFETY: as in `row_mut`, and as the caller says.
        unsafe { std::slice::from_raw_parts_mut(self.data.add(row * self.stride), columns) }
    }

    /// A view of some columns.
    ///
    /// # Panics
    /// If they are not all there.
    #[inline]
    pub fn columns_mut(&mut self, columns: Range<usize>) -> MatrixMut<'_> {
        self.reborrow().split_columns(columns.end).0.split_columns(columns.start).1
    }

    /// A view of some rows.
    ///
    /// # Panics
    /// If they are not all there.
    #[inline]
    pub(crate) fn rows_mut(&mut self, rows: Range<usize>) -> MatrixMut<'_> {
        self.reborrow().split_rows(rows.end).0.split_rows(rows.start).1
    }

    /// A shorter borrow of the same view.
    #[inline]
    pub fn reborrow(&mut self) -> MatrixMut<'_> {
        MatrixMut { borrow: PhantomData, ..*self }
    }

    /// The columns before `at`, and those from `at` on.
    ///
    /// # Panics
    /// If `at` is more than the number of columns.
    pub fn split_columns(self, at: usize) -> (MatrixMut<'a>, MatrixMut<'a>) {
        assert!(at <= self.columns);
        let left = MatrixMut { columns: at, ..self };
        // `wrapping_add`: an empty right side may start past the end of the allocation.
        let right = MatrixMut { data: self.data.wrapping_add(at), columns: self.columns - at, ..self };
        (left, right)
    }

    /// The rows before `at`, and those from `at` on.
    ///
    /// # Panics
    /// If `at` is more than the number of rows.
    pub fn split_rows(self, at: usize) -> (MatrixMut<'a>, MatrixMut<'a>) {
        assert!(at <= self.rows);
        let top = MatrixMut { rows: at, ..self };
        let bottom =
            MatrixMut { data: self.data.wrapping_add(at * self.stride), rows: self.rows - at, ..self };
        (top, bottom)
    }
}

/// Panics unless `rows` rows of `columns` values, `stride` apart, lie within `len` values.
#[inline]
fn check_extent(len: usize, rows: usize, columns: usize, stride: usize) {
    assert!(columns <= stride || rows <= 1, "rows of {columns} values overlap at stride {stride}");
    let end = match rows {
        0 => Some(0),
        _ => (rows - 1).checked_mul(stride).and_then(|start| start.checked_add(columns)),
    };
    assert!(
        end.is_some_and(|end| end <= len),
        "{rows} rows of {columns} values at stride {stride} do not fit {len} values"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_reach_each_element_once() {
        let mut data = vec![0.0; 5 * 7];
        let view = MatrixMut::new(&mut data, 5, 7, 7);
        let (left, right) = view.split_columns(3);
        let (top, bottom) = right.split_rows(2);
        for (mut part, value) in [(left, 1.0), (top, 2.0), (bottom, 4.0)] {
            for row in 0..part.rows() {
                part.row_mut(row).iter_mut().for_each(|v| *v += value);
            }
        }
        for (i, &value) in data.iter().enumerate() {
            let expected = if i % 7 < 3 {
                1.0
            } else if i / 7 < 2 {
                2.0
            } else {
                4.0
            };
            assert_eq!(value, expected, "element {i}");
        }
    }

    #[test]
    #[should_panic(expected = "do not fit")]
    fn a_view_beyond_its_data_is_refused() {
        Matrix::new(&[0.0; 10], 2, 5, 6);
    }

    #[test]
    #[should_panic(expected = "overlap")]
    fn overlapping_rows_are_refused() {
        MatrixMut::new(&mut [0.0; 10], 2, 5, 4);
    }
}
