//! Stories of Fieldbook's users and its enemies, told to the real program.

mod stories;
