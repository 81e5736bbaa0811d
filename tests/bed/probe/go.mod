// The pause container of the bed's pods, and a small server to prove the bed with.
module meridian.test/bed/probe

go 1.24.0
