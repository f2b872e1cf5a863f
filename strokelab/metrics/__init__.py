"""Per case: two binary masks in, numbers out. Knows no torch (except ``live``), no cohort and no model."""
