//! Named points where tests make the program stop, fail or wait.
