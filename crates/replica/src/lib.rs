//! One replica and its gateway as one machine without I/O.
