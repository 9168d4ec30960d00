raise RuntimeError("the database is not there")
