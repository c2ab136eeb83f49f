"""What spaces are built of: shaped networks op by op, cells as numbers and texts, repeated blocks."""
