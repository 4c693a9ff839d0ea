package stages

// appendRFC3339 appends the access log time t, "17/May/2015:10:05:03 +0000", as
// RFC 3339, "2015-05-17T10:05:03Z". It reports false, and appends nothing, when
// t is no time: wrong digits, no such month, 31 June.
func appendRFC3339(dst, t []byte) ([]byte, bool) {
	if len(t) != 26 || t[2] != '/' || t[6] != '/' || t[11] != ':' || t[14] != ':' || t[17] != ':' || t[20] != ' ' {
		return dst, false
	}
	month, days := monthOf(t[3:6])
	year := two(t, 7)*100 + two(t, 9)
	if month == 2 && year%4 == 0 && (year%100 != 0 || year%400 == 0) {
		days = 29
	}
	day := two(t, 0)
	sign, zh, zm := t[21], two(t, 22), two(t, 24)
	switch {
	case two(t, 7) < 0, two(t, 9) < 0, day < 1, day > days,
		!below(two(t, 12), 24), !below(two(t, 15), 60), !below(two(t, 18), 61), // 60 is a leap second
		sign != '+' && sign != '-', !below(zh, 24), !below(zm, 60):
		return dst, false
	}
	dst = append(dst, t[7], t[8], t[9], t[10], '-', byte('0'+month/10), byte('0'+month%10), '-', t[0], t[1], 'T')
	dst = append(dst, t[12:20]...)
	if zh == 0 && zm == 0 {
		return append(dst, 'Z'), true
	}
	return append(dst, sign, t[22], t[23], ':', t[24], t[25]), true
}

// two returns the number of two digits at t[i], or a negative number.
func two(t []byte, i int) int {
	hi, lo := t[i]-'0', t[i+1]-'0'
	if hi > 9 || lo > 9 {
		return -1000
	}
	return int(hi)*10 + int(lo)
}

func below(n, limit int) bool { return 0 <= n && n < limit }

// monthOf returns the number of a month and its days in a common year; 0, 0 if
// there is no such month.
func monthOf(name []byte) (month, days int) {
	switch string(name) {
	case "Jan":
		return 1, 31
	case "Feb":
		return 2, 28
	case "Mar":
		return 3, 31
	case "Apr":
		return 4, 30
	case "May":
		return 5, 31
	case "Jun":
		return 6, 30
	case "Jul":
		return 7, 31
	case "Aug":
		return 8, 31
	case "Sep":
		return 9, 30
	case "Oct":
		return 10, 31
	case "Nov":
		return 11, 30
	case "Dec":
		return 12, 31
	}
	return 0, 0
}
