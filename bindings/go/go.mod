module vdb

go 1.24
