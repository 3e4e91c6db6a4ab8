-- Appends numbered lines to the file `log` until the file `go` appears.
local log = assert(io.open("log", "a"))
local seen, k = {}, 0
print("ready")
io.stdout:flush()
while true do
    local go = io.open("go")
    if go then
        go:close()
        break
    end
    log:write("line ", k, "\n")
    log:flush()
    seen[k] = tostring(k * k)
    k = k + 1
    local x = 0
    for i = 1, 20000 do
        x = (x * 31 + i) % 1000003
    end
    seen[-1] = x
end
for i = 0, k - 1 do
    if seen[i] ~= tostring(i * i) then
        print("FAIL", i)
    end
end
print("PASS")
