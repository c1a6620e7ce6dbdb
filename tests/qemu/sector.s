.code16
.org 0
start:
  xor %ax,%ax
  mov %ax,%ds
  mov %ax,%es
  mov %ax,%ss
  mov $0x7c00,%sp
  mov $banner,%si
1: lodsb
  test %al,%al
  jz 2f
  call putc
  jmp 1b
2: mov $0x0201,%ax
  call disk
  mov 0x600,%al
  add $'0',%al
  call putc
  mov $'\n',%al
  call putc
  movb $'0',0x500
  mov $0x602,%dx
  mov $0x0100,%ax
  out %ax,%dx
key:
  mov $0x600,%dx
  in %dx,%ax
  test $1,%ah
  jnz off
  mov $0x3fd,%dx
  in %dx,%al
  test $1,%al
  jz key
  mov $0x3f8,%dx
  in %dx,%al
  cmp $'P',%al
  je panic
  cmp $'Q',%al
  je off
  cmp $'R',%al
  je reset
  cmp $'W',%al
  je save
  cmp $'K',%al
  je kpanic
  incb 0x500
  mov 0x500,%al
  call putc
  jmp key
save:
  mov 0x500,%al
  sub $'0',%al
  mov %al,0x600
  mov $0x0301,%ax
  call disk
  mov $'w',%al
  call putc
  jmp key
panic:
  mov $0x505,%dx
  mov $1,%al
  out %al,%dx
  jmp key
off:
  mov $0x604,%dx
  mov $0x2000,%ax
  out %ax,%dx
  jmp key
reset:
  mov $0xfe,%al
  out %al,$0x64
  jmp key
kpanic:
  mov $words,%si
1: lodsb
  test %al,%al
  jz key
  call putc
  jmp 1b
disk:
  mov $0x600,%bx
  mov $2,%cx
  mov $0x80,%dx
  int $0x13
  ret
putc:
  push %ax
1: mov $0x3fd,%dx
  in %dx,%al
  test $0x20,%al
  jz 1b
  pop %ax
  mov $0x3f8,%dx
  out %al,%dx
  ret
banner: .asciz "sector up, saved "
words: .asciz "Kernel panic - not syncing: asked to\n"
.org 510
.word 0xaa55
